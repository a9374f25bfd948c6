// What all processors here share: their parameters, and a line in the ledger when they begin and when they end.
package oncejob.interop.worker;

import java.util.concurrent.locks.LockSupport;
import tech.powerjob.worker.core.processor.ProcessResult;
import tech.powerjob.worker.core.processor.TaskContext;
import tech.powerjob.worker.core.processor.sdk.BasicProcessor;

/** Its lines: start, then end, or threw when it did not return. */
public abstract class Recorded implements BasicProcessor {
  @Override
  public final ProcessResult process(TaskContext context) throws Exception {
    return recorded("start", context, () -> work(context));
  }

  protected abstract ProcessResult work(TaskContext context) throws Exception;

  interface Work {
    ProcessResult run() throws Exception;
  }

  static ProcessResult recorded(String beginning, TaskContext context, Work work) throws Exception {
    Ledger.write(beginning, context);
    boolean returned = false;
    try {
      ProcessResult result = work.run();
      returned = true;
      return result;
    } finally {
      Ledger.write(returned ? "end" : "threw", context);
    }
  }

  /** For parts of distributed runs: the result of one that takes no time may get lost, its messages overtake each other. */
  static ProcessResult unhurried(String text) {
    LockSupport.parkNanos(200_000_000);
    return done(text);
  }

  /** What the caller of this run gave, else what the job has; empty when neither is there. */
  static String params(TaskContext context) {
    String run = context.getInstanceParams();
    if (run != null && !run.isEmpty()) return run;
    return context.getJobParams() == null ? "" : context.getJobParams();
  }

  static int number(TaskContext context) {
    return Integer.parseInt(params(context).trim());
  }

  static ProcessResult done(String text) {
    return new ProcessResult(true, text);
  }
}
