// A stream's bytes, read into the same memory again and again.

/** Bytes that are read at once, at most. */
const PIECE = 1 << 20;

/**
 * The bytes of a `stream`, piece by piece; a piece is good until the next one is asked for. Browsers do not collect what they read into before a model's worth of it has gathered, so it is
 * told to read into the same memory (and those that cannot be told read as they do).
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
