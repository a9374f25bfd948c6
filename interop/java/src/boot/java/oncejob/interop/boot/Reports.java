// Processors that are methods of a bean: a job names bean and handler, reports#daily, or class and handler.
package oncejob.interop.boot;

import org.springframework.stereotype.Component;
import tech.powerjob.worker.annotation.PowerJobHandler;
import tech.powerjob.worker.core.processor.TaskContext;

@Component("reports")
public class Reports {
  private final Stock stock;

  public Reports(Stock stock) {
    this.stock = stock;
  }

  @PowerJobHandler(name = "daily")
  public String daily(TaskContext context) {
    context.getOmsLogger().info("daily report of {}", context.getInstanceParams());
    return "daily: " + stock.of(context.getInstanceParams());
  }

  @PowerJobHandler(name = "weekly")
  public String ofTheWeek(TaskContext context) {
    if (context.getInstanceParams() == null) throw new IllegalStateException("a report needs its article");
    return "weekly: " + stock.of(context.getInstanceParams());
  }

  @PowerJobHandler(name = "monthly")
  public String monthly(TaskContext context) {
    return "monthly: " + stock.of(context.getInstanceParams());
  }
}
