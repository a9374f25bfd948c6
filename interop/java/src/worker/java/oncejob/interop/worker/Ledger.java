// What this worker really did: one line for each beginning and each end, which no kill can take back.
package oncejob.interop.worker;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.time.Instant;
import tech.powerjob.worker.core.processor.TaskContext;

/** Files in a folder that all workers of a test share; the lines of each are in a file of its own. */
final class Ledger {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static Path folder;
  private static int port;
  private static OutputStream out;

  private Ledger() {}

  static void open(String directory, int workerPort) throws IOException {
    folder = Paths.get(directory);
    port = workerPort;
    // the same worker may have been here before
    out = new FileOutputStream(folder.resolve(port + ".ledger").toFile(), true);
  }

  static void write(String kind, TaskContext context) {
    Instant now = Instant.now();
    ObjectNode line = JSON.createObjectNode();
    // ms since the epoch, with their fractions
    line.put("at", now.getEpochSecond() * 1e3 + now.getNano() / 1e6).put("kind", kind).put("port", port);
    line.put("instanceId", context.getInstanceId()).put("subInstanceId", context.getSubInstanceId());
    line.put("taskId", context.getTaskId()).put("task", context.getTaskName());
    byte[] bytes = (line + "\n").getBytes(StandardCharsets.UTF_8);
    synchronized (JSON) {
      try {
        out.write(bytes);
      } catch (IOException full) {
        throw new IllegalStateException("the ledger can not be written", full);
      }
    }
  }

  /** True for the first n calls for an instance, on whichever workers they are made. */
  static boolean isAmongFirst(int n, long instanceId) throws IOException {
    for (int i = 0; i < n; i++) {
      try {
        Files.createFile(folder.resolve(instanceId + "." + i + ".failed"));
        return true;
      } catch (FileAlreadyExistsException taken) {
        // the next one
      }
    }
    return false;
  }
}
