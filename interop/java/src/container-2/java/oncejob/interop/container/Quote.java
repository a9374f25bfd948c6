// A processor in a container: a bean of the container's own Spring, on top of a class of its host.
package oncejob.interop.container;

import oncejob.interop.worker.Recorded;
import org.springframework.stereotype.Component;
import tech.powerjob.worker.core.processor.ProcessResult;
import tech.powerjob.worker.core.processor.TaskContext;

@Component
public class Quote extends Recorded {
  private final Prices prices;

  public Quote(Prices prices) {
    this.prices = prices;
  }

  @Override
  protected ProcessResult work(TaskContext context) {
    context.getOmsLogger().info("quoted from {}", prices.list());
    return new ProcessResult(true, prices.list() + " for " + context.getInstanceParams());
  }
}
