import { describeOptions, otherVariables } from '../config/options.ts';
import { markdownTable } from './markdown.ts';

/** docs/configuration.md */
export function configurationPage(): string {
  const rows = describeOptions().map(({ key, type, default: value, description }) => [
    `\`${key}\``,
    type,
    value === undefined ? '–' : `\`${value}\``,
    description,
  ]);
  const variables = Object.entries(otherVariables).map(([name, text]) => [`\`${name}\``, text]);
  return `# Configuration

<!-- Made from src/config/schema.ts by "harnessd docs": do not edit. -->

Each option of \`harnessd serve\` has three names: \`listen.port\` in the file, \`HARNESSD_LISTEN_PORT\` in the environment, \`--listen-port\`
as a flag. A flag wins over the environment, the environment over the file, the file over the default.

- The file is JSON: that of \`--config\` or \`HARNESSD_CONFIG\`, else \`config.json\` in the state directory, if it is there. A section is an object:
  \`{"listen": {"port": 0}, "turn": {"timeoutMs": 600000}}\`.
- A relative path in the file is relative to the file's folder, elsewhere to the current one.
- An empty variable counts as one that is not set. Anything else that is not known, key or \`HARNESSD_…\` variable, is an error that names it.
- Times are milliseconds, sizes bytes. The path of the state directory may have 80 bytes at most, because unix sockets live in it.

${markdownTable(['option', 'type', 'default', 'meaning'], rows)}

## Other variables

${markdownTable(['variable', 'meaning'], variables)}
`;
}
