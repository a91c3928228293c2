// Reads a stream, reusing its buffer.

/** Largest number of bytes to read at once. */
const PIECE = 1 << 20;

/**
 * Yields the bytes of a `stream` in pieces. A piece is valid until the next one is requested. The buffer is reused where the browser supports it, because otherwise browsers free the
 * buffers only after about a model's size of them has accumulated.
 */
export async function* piecesOf(stream) {
  const reader = readerOf(stream);
  try {
    for (let room = new Uint8Array(PIECE); ; ) {
      const { done, value } = await reader.read(room);
      if (done) return;
      yield value;
      room = new Uint8Array(value.buffer);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function readerOf(stream) {
  try {
    return stream.getReader({ mode: 'byob' });
  } catch {
    return stream.getReader();
  }
}
