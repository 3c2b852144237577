// A client of node-opcua: takes one JSON command a line on stdin, answers one JSON line each.
const readline = require("node:readline");
const opcua = require("node-opcua-client");
const { OPCUACertificateManager } = require("node-opcua-certificate-manager");

let client, session;
const seen = [];

const shown = (data) =>
  data.statusCode.isGood() ? data.value.value : data.statusCode.name;

const commands = {
  async connect({ url, mode, policy, identity, user, password, folder }) {
    const manager = new OPCUACertificateManager({
      rootFolder: folder,
      automaticallyAcceptUnknownCertificate: true,
    });
    await manager.initialize();
    client = opcua.OPCUAClient.create({
      applicationName: "test",
      applicationUri: identity.uri,
      certificateFile: identity.certificate,
      privateKeyFile: identity.key,
      clientCertificateManager: manager,
      securityMode: opcua.MessageSecurityMode[mode],
      securityPolicy: opcua.SecurityPolicy[policy],
      connectionStrategy: { maxRetry: 0 },
      endpointMustExist: false,
    });
    await client.connect(url);
    session = await client.createSession({
      type: opcua.UserTokenType.UserName,
      userName: user,
      password,
    });
    return session.sessionId.toString() !== "";
  },
  async read({ ids }) {
    const data = await session.read(
      ids.map((nodeId) => ({ nodeId, attributeId: opcua.AttributeIds.Value })),
    );
    return data.map(shown);
  },
  async write({ values }) {
    const statuses = await session.write(
      values.map(([nodeId, dataType, value]) => ({
        nodeId,
        attributeId: opcua.AttributeIds.Value,
        value: { value: { dataType: opcua.DataType[dataType], value } },
      })),
    );
    return statuses.map((status) => status.name);
  },
  async browse({ id }) {
    const found = await session.browse(id);
    return found.references.map((reference) => [
      reference.browseName.name,
      reference.nodeId.toString(),
    ]);
  },
  async subscribe({ ids, interval }) {
    const subscription = await session.createSubscription2({
      requestedPublishingInterval: interval,
      requestedLifetimeCount: 1000,
      requestedMaxKeepAliveCount: 10,
      publishingEnabled: true,
    });
    const group = await subscription.monitorItems(
      ids.map((nodeId) => ({ nodeId, attributeId: opcua.AttributeIds.Value })),
      { samplingInterval: 0, queueSize: 10, discardOldest: true },
      opcua.TimestampsToReturn.Both,
    );
    group.on("changed", (_, data, at) => seen.push([ids[at], shown(data)]));
    return subscription.publishingInterval;
  },
  async seen() {
    return seen;
  },
  async close() {
    if (session) await session.close();
    if (client) await client.disconnect();
    return true;
  },
};

const answer = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
console.log = console.warn = console.error = () => {}; // stdout is for answers only

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const command = JSON.parse(line);
    try {
      answer({ is: await commands[command.do](command) });
    } catch (error) {
      answer({ refused: String(error.message) });
    }
  }
  process.exit(0);
})();
