// A processor that is a bean: a job names it by its class, or by its name as a bean.
package oncejob.interop.boot;

import org.springframework.stereotype.Component;
import tech.powerjob.worker.core.processor.ProcessResult;
import tech.powerjob.worker.core.processor.TaskContext;
import tech.powerjob.worker.core.processor.sdk.BasicProcessor;

@Component
public class CountStock implements BasicProcessor {
  private final Stock stock;

  public CountStock(Stock stock) {
    this.stock = stock;
  }

  @Override
  public ProcessResult process(TaskContext context) {
    String article = context.getInstanceParams();
    context.getOmsLogger().info("counting {} for {}", article, context.getJobParams());
    context.getOmsLogger().warn("few of {}", article);
    return new ProcessResult(true, context.getJobParams() + ": " + stock.of(article) + " of " + article);
  }
}
