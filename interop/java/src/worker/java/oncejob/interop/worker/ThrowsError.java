// Throws an Error, which a careless catch of exceptions does not see.
package oncejob.interop.worker;

import tech.powerjob.worker.core.processor.ProcessResult;
import tech.powerjob.worker.core.processor.TaskContext;

public final class ThrowsError extends Recorded {
  @Override
  protected ProcessResult work(TaskContext context) {
    throw new NoClassDefFoundError("com/example/Missing");
  }
}
