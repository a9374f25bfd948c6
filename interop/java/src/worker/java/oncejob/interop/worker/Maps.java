// Splits itself into as many parts as its parameters say.
package oncejob.interop.worker;

import java.util.ArrayList;
import java.util.List;
import tech.powerjob.worker.core.processor.ProcessResult;
import tech.powerjob.worker.core.processor.TaskContext;
import tech.powerjob.worker.core.processor.sdk.MapProcessor;

public final class Maps implements MapProcessor {
  @Override
  public ProcessResult process(TaskContext context) throws Exception {
    if (isRootTask()) return Recorded.recorded("split", context, () -> split(this, Recorded.number(context)));
    return Recorded.recorded("start", context, () -> Recorded.unhurried("part " + context.getSubTask()));
  }

  /** Parts 1 to n, in batches of the size that PowerJob recommends. */
  static ProcessResult split(MapProcessor processor, int n) throws Exception {
    List<Integer> batch = new ArrayList<>();
    for (int i = 1; i <= n; i++) {
      batch.add(i);
      if (batch.size() < 200 && i < n) continue;
      processor.map(batch, "PART");
      batch = new ArrayList<>();
    }
    return Recorded.unhurried("split into " + n);
  }
}
