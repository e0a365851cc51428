// What machines are called: by their host, and the port too where several workers share one.

/** Where a step is that runs beside the director, where there is a word for it at all. */
export const MACHINES_HERE = "this machine";

/** Host and port of an address like "tls://10.0.0.3:41711". @param {string} address */
function machinesBare(address) {
  return address.replace(/^[a-z][a-z0-9+.-]*:\/\//i, "");
}

/** The host of a worker's address: what its pools count by; "" for this machine. @param {string} address */
export function machinesHost(address) {
  const bare = machinesBare(address);
  return (/^\[([^\]]+)\]/.exec(bare)?.[1] ?? /^[^:/]*/.exec(bare)?.[0] ?? bare).toLowerCase() || bare;
}

/**
 * A short name for each worker: its host, where that is enough to tell it from the others.
 * @param {Iterable<string>} addresses
 */
export function machinesNamed(addresses) {
  const all = [...new Set(addresses)].filter(Boolean);
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const address of all) counts.set(machinesHost(address), (counts.get(machinesHost(address)) ?? 0) + 1);
  return new Map(all.map((address) => {
    const host = machinesHost(address);
    return [address, counts.get(host) === 1 ? host : machinesBare(address)];
  }));
}
