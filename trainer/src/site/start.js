// Starts the page's program. The names in capitals are set by page.rs.

// A model from the site itself needs no other host: then the policy is narrowed to that. (It can be narrowed by a script, never widened.)
const model = new URLSearchParams(location.search).get('model') ?? '';
if (model === '' || /^\.{0,2}\//.test(model)) {
  const policy = document.createElement('meta');
  policy.httpEquiv = 'Content-Security-Policy';
  policy.content = "connect-src 'self'";
  document.head.append(policy);
}

const start = async () => {
  // Asked for before the program is there; a preload within the HTML would carry no hash.
  const module_or_path = fetch('./WASM', { integrity: 'HASH' });
  const { default: init } = await import('./PROGRAM');
  await init({ module_or_path });
};

start().catch((error) => {
  const words = document.createElement('p');
  words.setAttribute('role', 'alert');
  words.textContent = `This page could not start (${error.message}). Reload it; if that does not help, one of its files is missing or damaged.`;
  document.querySelector('.boot')?.append(words);
  throw error;
});
