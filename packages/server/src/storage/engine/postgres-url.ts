// Database URLs as they may be shown.

/** The URL without its password, fit for a log or a terminal. */
export const withoutPassword = (url: string): string =>
  url.replace(/^([^/]*\/\/[^:@/?#]*):[^/?#]*@/, '$1@').replace(/([?&](?:password|sslpassword)=)[^&#]*/gi, '$1…')
