// Never succeeds: returns a failure, or throws when its parameters say so.
package oncejob.interop.worker;

import tech.powerjob.worker.core.processor.ProcessResult;
import tech.powerjob.worker.core.processor.TaskContext;

public final class Fails extends Recorded {
  @Override
  protected ProcessResult work(TaskContext context) {
    if (params(context).equals("throw")) throw new IllegalStateException("the job says throw");
    return new ProcessResult(false, "the job says fail");
  }
}
