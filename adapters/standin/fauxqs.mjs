// Serves fauxqs on loopback only: its own server binds every interface.
import { pathToFileURL } from "node:url";

const [app, port] = process.argv.slice(2);
const { buildApp } = await import(pathToFileURL(app));
await buildApp({ logger: false }).listen({ host: "127.0.0.1", port: Number(port) });
