// Fails as often as its parameters say, whichever worker has it, and succeeds from then on.
package oncejob.interop.worker;

import tech.powerjob.worker.core.processor.ProcessResult;
import tech.powerjob.worker.core.processor.TaskContext;

public final class FailsFirst extends Recorded {
  @Override
  protected ProcessResult work(TaskContext context) throws Exception {
    boolean fails = Ledger.isAmongFirst(number(context), context.getInstanceId());
    return fails ? new ProcessResult(false, "not yet") : done("at last");
  }
}
