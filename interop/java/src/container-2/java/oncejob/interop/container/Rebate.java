// A processor that the container did not have before.
package oncejob.interop.container;

import oncejob.interop.worker.Recorded;
import org.springframework.stereotype.Component;
import tech.powerjob.worker.core.processor.ProcessResult;
import tech.powerjob.worker.core.processor.TaskContext;

@Component
public class Rebate extends Recorded {
  @Override
  protected ProcessResult work(TaskContext context) {
    return new ProcessResult(true, "rebate for " + context.getInstanceParams());
  }
}
