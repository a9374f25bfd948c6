// A PowerJob worker as an application has it: settings from system properties, READY on stdout, ends when its stdin does.
package oncejob.interop.worker;

import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import tech.powerjob.common.enums.Protocol;
import tech.powerjob.worker.PowerJobWorker;
import tech.powerjob.worker.common.PowerJobWorkerConfig;
import tech.powerjob.worker.common.constants.StoreStrategy;

public final class WorkerMain {
  private WorkerMain() {}

  public static void main(String[] args) throws Exception {
    endWithStdin();
    PowerJobWorkerConfig config = new PowerJobWorkerConfig();
    config.setAppName(setting("app"));
    // the client shuffles its list
    config.setServerAddress(new ArrayList<>(Arrays.asList(setting("servers").split(","))));
    config.setProtocol(Protocol.HTTP);
    config.setPort(Integer.parseInt(setting("port")));
    config.setStoreStrategy(StoreStrategy.MEMORY);
    config.setHealthReportInterval(Integer.getInteger("oncejob.heartbeatSeconds", 10));
    config.setTag(System.getProperty("oncejob.tag"));
    Ledger.open(setting("ledger"), config.getPort());
    new PowerJobWorker(config).init();
    System.out.println("READY");
  }

  private static String setting(String name) {
    String value = System.getProperty("oncejob." + name);
    if (value == null) throw new IllegalArgumentException("-Doncejob." + name + " is missing");
    return value;
  }

  /** Whoever started this holds the other end: a worker must not outlive its test. */
  private static void endWithStdin() {
    Thread watch = new Thread(() -> {
      try {
        while (System.in.read() >= 0) continue;
      } catch (IOException broken) {
        // ends as well
      }
      Runtime.getRuntime().halt(9);
    }, "stdin");
    watch.setDaemon(true);
    watch.start();
  }
}
