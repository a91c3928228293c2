// A bundle's files on this device: chosen one by one, as a folder, or dropped.

import { named } from './errors.js';

/** The folder that messages name for files chosen one by one. */
const NOWHERE = 'the chosen files/';

/** Each of `files` (File objects) with its path in the chosen or dropped folder, or else its name. */
export function withPaths(files) {
  return Array.from(files, (file) => ({ path: file.starsightPath ?? (file.webkitRelativePath || file.name), file }));
}

/** All files of a drop, including those in its folders. Must be called while handling the drop event. */
export async function dropped(transfer) {
  const roots = Array.from(transfer.items, (item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const found = [];
  const walk = async (entry) => {
    if (entry.isFile) {
      const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
      found.push(Object.assign(file, { starsightPath: entry.fullPath.slice(1) }));
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      // A folder is read in portions; an empty portion is the end.
      const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (entries.length === 0) return;
      for (const inner of entries) await walk(inner);
    }
  };
  for (const root of roots) await walk(root);
  return found;
}

/**
 * The bundle's file at `path` among `files`, [{ path, file }], and its folder. A file that was chosen by itself has no folder, so it is identified by name and size; its hash is checked
 * later.
 */
export function inFolder(files, path, { base, size } = {}) {
  const name = path.split('/').at(-1);
  const exact = files.find((one) => (base === undefined ? one.path === path || one.path.endsWith(`/${path}`) : one.path === `${base}${path}`));
  const found = exact ?? files.find((one) => one.path.split('/').at(-1) === name && one.file.size === size);
  if (!found) {
    const there = files.map((one) => one.path).slice(0, 5).join(', ');
    throw named('BundleError', `there is no ${path} among the chosen files (${there || 'none'}); wanted a bundle: starsight.json and the files that it lists, as a folder or all together`);
  }
  return { base: base ?? (found.path.slice(0, -name.length) || NOWHERE), file: found.file };
}
