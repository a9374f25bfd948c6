// JSON in columns of text, where null stands for no value.

/** The text of a value; null when there is none. */
export const jsonText = (value: unknown): string | null =>
  value === undefined || value === null ? null : JSON.stringify(value)

/** The value of a text; null when there is none. */
export const jsonValue = (text: string | null): unknown => (text === null ? null : JSON.parse(text))
