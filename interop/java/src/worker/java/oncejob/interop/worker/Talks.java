// Writes lines of every level to the log of the run, with placeholders, several lines in one, and exceptions.
package oncejob.interop.worker;

import tech.powerjob.worker.core.processor.ProcessResult;
import tech.powerjob.worker.core.processor.TaskContext;
import tech.powerjob.worker.log.OmsLogger;

public final class Talks extends Recorded {
  @Override
  protected ProcessResult work(TaskContext context) throws InterruptedException {
    OmsLogger log = context.getOmsLogger();
    log.debug("debug {}", 1);
    log.info("info {} «ünïcode» 中文 😀", "two");
    apart();
    log.warn("first line\nsecond line\n\tthird line");
    apart();
    log.error("it broke: {}", "badly", new IllegalStateException("outer", new RuntimeException("inner cause")));
    for (int i = 0; i < 50; i++) {
      apart();
      log.info("line {}", i);
    }
    return done("said it");
  }

  /** Lines of the same millisecond have no order on the wire: they are sent twenty at a time, side by side. */
  private static void apart() throws InterruptedException {
    Thread.sleep(2);
  }
}
