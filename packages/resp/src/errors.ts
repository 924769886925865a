// What can go wrong while speaking the protocol: the peer refuses, the connection fails, or the bytes make no sense.

/** The peer answered a command with an error line. `message` is its text without the leading `-`. */
export class RespError extends Error {
  override readonly name = 'RespError';
}

/**
 * The connection failed. `code` is the errno's name where there is one (ECONNREFUSED, ECONNRESET, ETIMEDOUT, …).
 * A command that was under way when it happened may or may not have been executed.
 */
export class ConnectionError extends Error {
  override readonly name = 'ConnectionError';
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/**
 * The peer sent bytes that are not the protocol; nothing behind them can be understood. `text` is what a server
 * answers before it closes; undefined means that it closes without a word.
 */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
  readonly text: string | undefined;

  constructor(text: string | undefined) {
    super(text ?? 'header line too long');
    this.text = text;
  }
}
