// Splits itself into as many parts as its parameters say, and adds up what they came to.
package oncejob.interop.worker;

import java.util.List;
import tech.powerjob.worker.core.processor.ProcessResult;
import tech.powerjob.worker.core.processor.TaskContext;
import tech.powerjob.worker.core.processor.TaskResult;
import tech.powerjob.worker.core.processor.sdk.MapReduceProcessor;

public final class Sums implements MapReduceProcessor {
  @Override
  public ProcessResult process(TaskContext context) throws Exception {
    if (isRootTask()) return Recorded.recorded("split", context, () -> Maps.split(this, Recorded.number(context)));
    return Recorded.recorded("start", context, () -> Recorded.unhurried("part " + context.getSubTask()));
  }

  @Override
  public ProcessResult reduce(TaskContext context, List<TaskResult> results) {
    Ledger.write("reduce", context);
    long parts = 0;
    long sum = 0;
    for (TaskResult result : results) {
      if (!result.isSuccess() || !result.getResult().startsWith("part ")) continue;
      parts++;
      sum += Long.parseLong(result.getResult().substring("part ".length()));
    }
    return Recorded.unhurried(parts + " parts, sum " + sum);
  }
}
