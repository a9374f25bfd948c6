// A PowerJob client that is told what to do: one JSON command a line on stdin, one JSON answer a line on stdout.
package oncejob.interop;

import com.fasterxml.jackson.annotation.JsonAutoDetect;
import com.fasterxml.jackson.annotation.PropertyAccessor;
import com.fasterxml.jackson.databind.JavaType;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.Closeable;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;
import tech.powerjob.client.PowerJobClient;
import tech.powerjob.common.response.ResultDTO;

/**
 * Commands, each with an id that its answer repeats:
 * open {client, addresses, app, password, config?}, call {client, method, args},
 * repeat {client, method, args, times, threads, own?}, close {client}.
 * `own` gives every call of a repeat a client of its own.
 */
public final class ClientRemote {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final PrintStream OUT = System.out;

  static {
    // by field: what a user's code sees, and no surprises from the names of getters
    JSON.setVisibility(PropertyAccessor.ALL, JsonAutoDetect.Visibility.NONE);
    JSON.setVisibility(PropertyAccessor.FIELD, JsonAutoDetect.Visibility.ANY);
  }

  private final Map<String, PowerJobClient> clients = new ConcurrentHashMap<>();

  public static void main(String[] args) throws Exception {
    new ClientRemote().serve();
  }

  private void serve() throws Exception {
    ExecutorService pool = Executors.newCachedThreadPool();
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    say(JSON.createObjectNode().put("ready", true));
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      JsonNode command = JSON.readTree(line);
      pool.execute(() -> say(answer(command)));
    }
    // the one who gives the commands is gone
    System.exit(0);
  }

  private static void say(JsonNode answer) {
    synchronized (OUT) {
      OUT.println(answer);
      OUT.flush();
    }
  }

  private ObjectNode answer(JsonNode command) {
    ObjectNode answer = JSON.createObjectNode();
    answer.set("id", command.get("id"));
    try {
      answer.set("value", JSON.valueToTree(perform(command)));
    } catch (Throwable thrown) {
      answer.set("thrown", describe(thrown));
    }
    return answer;
  }

  private static ObjectNode describe(Throwable thrown) {
    Throwable real = thrown instanceof InvocationTargetException && thrown.getCause() != null ? thrown.getCause() : thrown;
    ObjectNode node = JSON.createObjectNode();
    node.put("type", real.getClass().getSimpleName());
    node.put("message", real.getMessage());
    if (real.getCause() != null && real.getCause() != real) node.set("cause", describe(real.getCause()));
    return node;
  }

  private Object perform(JsonNode command) throws Exception {
    switch (command.get("op").asText()) {
      case "open":
        clients.put(command.get("client").asText(), open(command));
        return null;
      case "close":
        PowerJobClient closing = clients.remove(command.get("client").asText());
        if (closing instanceof Closeable) ((Closeable) closing).close();
        return null;
      case "call":
        return call(clients.get(command.get("client").asText()), command);
      case "repeat":
        return repeat(command);
      default:
        throw new IllegalArgumentException("no such op: " + command);
    }
  }

  private static PowerJobClient open(JsonNode command) throws Exception {
    List<String> addresses = new ArrayList<>();
    command.get("addresses").forEach(address -> addresses.add(address.asText()));
    String app = command.get("app").asText();
    String password = command.hasNonNull("password") ? command.get("password").asText() : null;
    if (!command.hasNonNull("config")) return new PowerJobClient(addresses, app, password);
    // 5.x only
    Class<?> type = Class.forName("tech.powerjob.client.ClientConfig");
    Object config = type.getConstructor().newInstance();
    type.getMethod("setAddressList", List.class).invoke(config, addresses);
    type.getMethod("setAppName", String.class).invoke(config, app);
    type.getMethod("setPassword", String.class).invoke(config, password);
    JsonNode given = command.get("config");
    for (String name : List.of("ConnectionTimeout", "ReadTimeout", "WriteTimeout")) {
      String key = Character.toLowerCase(name.charAt(0)) + name.substring(1);
      if (given.hasNonNull(key)) type.getMethod("set" + name, Integer.class).invoke(config, given.get(key).asInt());
    }
    if (given.hasNonNull("defaultHeaders")) {
      type.getMethod("setDefaultHeaders", Map.class).invoke(config, JSON.convertValue(given.get("defaultHeaders"), Map.class));
    }
    return PowerJobClient.class.getConstructor(type).newInstance(config);
  }

  private static Method find(String name, int count) {
    for (Method method : PowerJobClient.class.getMethods()) {
      if (method.getName().equals(name) && method.getParameterCount() == count) return method;
    }
    throw new IllegalArgumentException("this client has no method " + name + " with " + count + " parameters");
  }

  private static Object[] argumentsOf(Method method, JsonNode args) {
    Object[] values = new Object[args.size()];
    for (int i = 0; i < values.length; i++) {
      JavaType type = JSON.getTypeFactory().constructType(method.getGenericParameterTypes()[i]);
      values[i] = JSON.convertValue(args.get(i), type);
    }
    return values;
  }

  private static Object call(PowerJobClient client, JsonNode command) throws Exception {
    if (client == null) throw new IllegalArgumentException("no such client: " + command);
    JsonNode args = command.get("args");
    Method method = find(command.get("method").asText(), args.size());
    return method.invoke(client, argumentsOf(method, args));
  }

  /** Many equal calls by several threads; what came of them in the order of the calls. */
  private ObjectNode repeat(JsonNode command) throws Exception {
    int times = command.get("times").asInt();
    int threads = command.get("threads").asInt();
    boolean own = command.path("own").asBoolean(false);
    JsonNode args = command.get("args");
    Method method = find(command.get("method").asText(), args.size());
    JsonNode[] results = new JsonNode[times];
    long[] tookNanos = new long[times];
    AtomicInteger next = new AtomicInteger();
    CountDownLatch done = new CountDownLatch(threads);
    long began = System.nanoTime();
    for (int t = 0; t < threads; t++) {
      new Thread(() -> {
        for (int i = next.getAndIncrement(); i < times; i = next.getAndIncrement()) {
          long start = System.nanoTime();
          results[i] = once(command, method, args, own);
          tookNanos[i] = System.nanoTime() - start;
        }
        done.countDown();
      }).start();
    }
    done.await();
    ObjectNode summary = JSON.createObjectNode();
    summary.put("tookMs", (System.nanoTime() - began) / 1e6);
    ArrayNode all = summary.putArray("results");
    Arrays.asList(results).forEach(all::add);
    Arrays.sort(tookNanos);
    summary.put("p50Ms", tookNanos[times / 2] / 1e6);
    summary.put("p99Ms", tookNanos[(int) (times * 0.99)] / 1e6);
    return summary;
  }

  private JsonNode once(JsonNode command, Method method, JsonNode args, boolean own) {
    try {
      PowerJobClient client = own ? open(command) : clients.get(command.get("client").asText());
      Object result = method.invoke(client, argumentsOf(method, args));
      if (own && client instanceof Closeable) ((Closeable) client).close();
      ResultDTO<?> dto = (ResultDTO<?>) result;
      ObjectNode node = JSON.createObjectNode();
      if (dto == null) return node.put("empty", true);
      if (dto.isSuccess()) node.set("data", JSON.valueToTree(dto.getData()));
      else node.put("failure", String.valueOf(dto.getMessage()));
      return node;
    } catch (Throwable thrown) {
      ObjectNode node = JSON.createObjectNode();
      node.set("thrown", describe(thrown));
      return node;
    }
  }
}
