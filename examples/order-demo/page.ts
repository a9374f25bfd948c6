// The pages: a form whose button is off while its order is under way, and an order with the moves that it knows.
import type { Order } from './orders.ts'
import { movesFrom } from './orders.ts'

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}
const escaped = (text: string): string => text.replaceAll(/[&<>"']/g, (char) => entities[char] ?? char)

// Comfort only: what makes an order happen once is the token. A page that comes back from the browser's cache is usable again.
const script = `
for (const form of document.forms) form.addEventListener('submit', (event) => {
  const button = form.querySelector('button')
  if (button.disabled) return event.preventDefault()
  button.disabled = true
  button.setAttribute('aria-busy', 'true')
})
addEventListener('pageshow', () => {
  for (const button of document.querySelectorAll('button')) {
    button.disabled = false
    button.removeAttribute('aria-busy')
  }
})`

const page = (title: string, body: string): string => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escaped(title)}</title>
<style>body { font: 1rem/1.5 system-ui; margin: 3rem auto; max-width: 30rem } button[aria-busy] { opacity: .5; cursor: progress }</style>
</head>
<body>
<h1>${escaped(title)}</h1>
${body}
<script>${script}</script>
</body>
</html>
`

/** The form for a new order; the token in it is good for one. */
export const formPage = (token: string): string =>
  page(
    'New order',
    `<form method="post" action="/orders">
<input type="hidden" name="token" value="${escaped(token)}">
<p><label>Item <input name="item" value="Tea" required maxlength="200"></label></p>
<p><label>Count <input name="count" type="number" value="1" min="1" max="1000" required></label></p>
<p><button>Order</button></p>
</form>`,
  )

/** An order, as the page to which the form leads. */
export const orderPage = (order: Order): string =>
  page(
    `Order ${order.id}`,
    `<p>${order.count} × ${escaped(order.item)}: <strong>${order.state}</strong></p>
${movesFrom(order.state)
  .map((move) => `<form method="post" action="/orders/${order.id}/${move}"><button>${move}</button></form>`)
  .join('\n')}
<p><a href="/">Another order</a></p>`,
  )
