// The venue's REST API. Answers other than 2xx become an ApiError with the
// venue's own code, message and field.

const TIMEOUT_MS = 12000;

/** ApiError is a refusal by the venue; status 0 says that no answer came. */
export class ApiError extends Error {
  constructor(status, { code = 'unknown', message = '', field = '' } = {}) {
    super(message || `the venue answered ${status}`);
    this.status = status;
    this.code = code;
    this.field = field;
  }

  /** doubtful says that nobody knows whether the request took effect. */
  get doubtful() {
    return this.status === 0 || this.status === 504;
  }
}

let token = '';

/** setToken sets the bearer token of all further requests; '' takes it away. */
export function setToken(t) {
  token = t;
}

/** call sends one request. key is its idempotency key. */
export async function call(method, path, { body, key } = {}) {
  const headers = { Accept: 'application/json' };
  if (token) headers.Authorization = `Bearer ${token}`;
  if (key) headers['Idempotency-Key'] = key;
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  let response;
  let text;
  try {
    response = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(TIMEOUT_MS),
      cache: 'no-store',
      credentials: 'omit',
    });
    text = await response.text();
  } catch {
    throw new ApiError(0, { code: 'no_answer', message: 'The venue does not answer.' });
  }
  let answer = null;
  try {
    answer = text ? JSON.parse(text) : null;
  } catch {
    // Not the venue's own words: the status has to do.
  }
  if (!response.ok) throw new ApiError(response.status, answer ?? {});
  return answer;
}

/** newKey returns a key that nobody has used before. */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return 'web-' + Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('');
}
