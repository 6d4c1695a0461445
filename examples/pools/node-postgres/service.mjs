// A service whose node-postgres pool follows every rotation of its login.
//
// A pool can be given a function for the password, but none for the user name. So each login gets a pool of its own, made when
// the agent's socket tells of it; the pool before is ended after its last operation, and then the agent is told so.
//
//   AGENT_SOCKET=/run/leasehold/agent.sock CREDENTIAL=orders CONSUMER=orders-service node service.mjs
//   curl -X POST 'http://127.0.0.1:8080/orders?ms=50'

import http from "node:http";
import { setTimeout as pause } from "node:timers/promises";
import pg from "pg";

const {
  LISTEN = "127.0.0.1:8080",
  POOL_SIZE = "16",
  MAX_LIFETIME = "120",
  AGENT_SOCKET = "/run/leasehold/agent.sock",
  CREDENTIAL = "orders",
  CONSUMER,
} = process.env;

async function main() {
  const supplies = follow();
  let login = new Login((await supplies.next()).value);
  await login.transaction((client) => client.query("SELECT 1")); // a service that cannot log in should not start
  await serve((ms) => login.transaction((client) => insertOrder(client, ms)));
  await acknowledge(login);
  for await (const supplied of supplies) {
    const before = login;
    login = new Login(supplied);
    await before.end();
    await acknowledge(login);
  }
}

async function insertOrder(client, ms) {
  await client.query("SELECT pg_sleep($1)", [ms / 2000]);
  await client.query("INSERT INTO orders (note) VALUES ($1)", ["from node-postgres"]);
  await client.query("SELECT pg_sleep($1)", [ms / 2000]);
}

/** One login with its pool. */
class Login {
  #pool;
  #operations = 0;
  #idle = () => {};

  constructor({ generation, lease, credential }) {
    this.generation = generation;
    this.lease = lease.id;
    this.#pool = new pg.Pool({
      // pg takes "prefer" for "verify-full". The broker says it of servers on the same machine, where no TLS is needed.
      connectionString: credential.url.replace("sslmode=prefer", "sslmode=disable"),
      max: Number(POOL_SIZE),
      maxLifetimeSeconds: Number(MAX_LIFETIME),
    });
    // Whoever works with a connection that breaks hears of it by the query. Without these it would end the process.
    this.#pool.on("connect", (client) => client.on("error", () => {}));
    this.#pool.on("error", (error) => console.error(`idle connection: ${error.message}`));
  }

  async transaction(work) {
    this.#operations += 1;
    try {
      const client = await this.#pool.connect();
      let failure;
      try {
        await client.query("BEGIN");
        await work(client);
        await client.query("COMMIT");
      } catch (error) {
        failure = error;
        throw error;
      } finally {
        client.release(failure); // closed after a failure, which rolls back
      }
    } finally {
      this.#operations -= 1;
      if (this.#operations === 0) this.#idle();
    }
  }

  /** Ends the pool after the last operation: whoever waits for a connection when a pool is ended waits for ever. */
  async end() {
    if (this.#operations > 0) await new Promise((resolve) => (this.#idle = resolve));
    await this.#pool.end();
  }
}

/** Each login that takes the place of another, beginning with the present one. While the agent is away, it is asked again. */
async function* follow() {
  // Logins are told apart by their lease, for another agent in the place of this one may count from the beginning. So it is
  // asked for what it has at once (after 0) wherever that can have happened, and waited for a later one only then.
  for (let after = 0, lease; ; ) {
    try {
      const supplied = await ask("GET", `?after=${after}&wait=30s`);
      if (supplied.lease.id === lease) {
        after = supplied.generation;
      } else {
        yield supplied;
        lease = supplied.lease.id;
        after = 0;
      }
    } catch (error) {
      console.error(`agent: ${error.message}`);
      after = 0;
      await pause(1000);
    }
  }
}

/** Tells the agent that only this login is in use now. If that is not heard, those before live to their own end. */
async function acknowledge({ generation }) {
  if (!CONSUMER) return;
  const body = JSON.stringify({ consumer: CONSUMER, generation });
  await ask("POST", "/ack", body).catch((error) => console.error(`acknowledgement: ${error.message}`));
}

async function ask(method, rest, body) {
  const response = await new Promise((resolve, reject) => {
    const path = `/v1/credentials/${encodeURIComponent(CREDENTIAL)}${rest}`;
    const headers = { host: "localhost", "content-type": "application/json" };
    const signal = AbortSignal.timeout(40_000);
    http.request({ socketPath: AGENT_SOCKET, method, path, headers, signal }, resolve).on("error", reject).end(body);
  });
  const text = Buffer.concat(await response.toArray()).toString();
  if (response.statusCode >= 300) throw new Error(`it answers ${response.statusCode}`);
  return text && JSON.parse(text);
}

async function serve(insert) {
  const server = http.createServer(async (request, response) => {
    const url = new URL(request.url, "http://localhost");
    const ms = url.searchParams.get("ms") ?? "0";
    const answer = (status, text) => {
      response.statusCode = status; // after writeHead() the text would go out in chunks, without its length
      response.end(text);
    };
    if (request.method !== "POST" || url.pathname !== "/orders") return answer(404, "only POST /orders?ms=N");
    if (!/^\d+$/.test(ms) || ms > 10_000) return answer(400, "ms must be 0 to 10000");
    try {
      await insert(Number(ms));
      answer(200, "ok");
    } catch (error) {
      console.error(`order failed: ${error.message}`);
      answer(500, error.message);
    }
  });
  const [, host, port] = LISTEN.match(/^(.*):(\d+)$/);
  await new Promise((resolve, reject) => server.on("error", reject).listen(port, host, resolve));
  console.log(`listening on ${host}:${server.address().port}`);
  process.on("SIGTERM", () => {
    server.close(() => process.exit(0));
    setTimeout(() => process.exit(0), 1000);
  });
}

await main();
