// Takes as many milliseconds as its parameters say, unless it is interrupted.
package oncejob.interop.worker;

import tech.powerjob.worker.core.processor.ProcessResult;
import tech.powerjob.worker.core.processor.TaskContext;

public final class Slow extends Recorded {
  @Override
  protected ProcessResult work(TaskContext context) throws Exception {
    Thread.sleep(number(context));
    return done("slept " + number(context));
  }
}
