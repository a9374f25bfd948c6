// Something of the application that its processors are given by Spring.
package oncejob.interop.boot;

import org.springframework.stereotype.Service;

@Service
public class Stock {
  int of(String article) {
    return article.length();
  }
}
