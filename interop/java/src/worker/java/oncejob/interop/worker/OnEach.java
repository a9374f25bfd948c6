// Runs once on every worker, with something before and something after.
package oncejob.interop.worker;

import java.util.List;
import tech.powerjob.worker.core.processor.ProcessResult;
import tech.powerjob.worker.core.processor.TaskContext;
import tech.powerjob.worker.core.processor.TaskResult;
import tech.powerjob.worker.core.processor.sdk.BroadcastProcessor;

public final class OnEach implements BroadcastProcessor {
  @Override
  public ProcessResult preProcess(TaskContext context) throws Exception {
    return Recorded.recorded("before", context, () -> Recorded.unhurried("prepared"));
  }

  @Override
  public ProcessResult process(TaskContext context) throws Exception {
    return Recorded.recorded("start", context, () -> Recorded.unhurried("here"));
  }

  @Override
  public ProcessResult postProcess(TaskContext context, List<TaskResult> results) throws Exception {
    return Recorded.recorded("after", context, () -> {
      long succeeded = results.stream().filter(result -> result.isSuccess() && "here".equals(result.getResult())).count();
      return Recorded.unhurried("on " + succeeded + " workers");
    });
  }
}
