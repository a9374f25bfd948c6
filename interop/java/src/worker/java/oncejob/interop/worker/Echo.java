// Succeeds and says what parameters it got.
package oncejob.interop.worker;

import tech.powerjob.worker.core.processor.ProcessResult;
import tech.powerjob.worker.core.processor.TaskContext;

public final class Echo extends Recorded {
  @Override
  protected ProcessResult work(TaskContext context) {
    return done("job=" + context.getJobParams() + " run=" + context.getInstanceParams());
  }
}
