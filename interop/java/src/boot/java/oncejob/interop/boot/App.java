// A Spring Boot application with PowerJob's starter: READY on stdout, ends when its stdin does. Its settings are not in it.
package oncejob.interop.boot;

import java.io.IOException;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;

@SpringBootApplication
public class App {
  public static void main(String[] args) {
    endWithStdin();
    SpringApplication.run(App.class, args);
    System.out.println("READY");
  }

  /** Whoever started this holds the other end: an application must not outlive its test. */
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
