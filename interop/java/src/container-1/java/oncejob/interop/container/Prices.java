// What the processor of the container needs, and only Spring can give it.
package oncejob.interop.container;

import org.springframework.stereotype.Component;

@Component
public class Prices {
  String list() {
    return "prices of spring";
  }
}
