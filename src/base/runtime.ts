export interface RuntimeVersions {
  readonly node: string;
  readonly uv: string;
}

/** Why harnessd must not run on this Node; undefined when it may. Before libuv 1.52 the end of a PTY's output can be lost. */
export function runtimeFault({ node, uv }: RuntimeVersions): string | undefined {
  const [major = 0, minor = 0] = numbers(node);
  if (major < 24 || (major === 24 && minor < 16))
    return `Node ${node} is too old: 24.16 or newer is needed, but not 25`;
  if (major === 25) return `Node ${node} is not supported: 24.16 or newer is needed, but not 25`;
  const [uvMajor = 0, uvMinor = 0] = numbers(uv);
  if (uvMajor < 1 || (uvMajor === 1 && uvMinor < 52))
    return `this Node ${node} has libuv ${uv}, and 1.52 or newer is needed`;
  return undefined;
}

function numbers(version: string): number[] {
  return version.split('.').map((part) => Number.parseInt(part, 10));
}
