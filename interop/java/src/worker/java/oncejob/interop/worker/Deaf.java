// Works as many milliseconds as its parameters say, whatever interrupts it.
package oncejob.interop.worker;

import tech.powerjob.worker.core.processor.ProcessResult;
import tech.powerjob.worker.core.processor.TaskContext;

public final class Deaf extends Recorded {
  @Override
  protected ProcessResult work(TaskContext context) {
    long endNanos = System.nanoTime() + number(context) * 1_000_000L;
    while (System.nanoTime() < endNanos) {
      try {
        Thread.sleep(20);
      } catch (InterruptedException ignored) {
        // that is the point
      }
    }
    return done("heard nothing");
  }
}
