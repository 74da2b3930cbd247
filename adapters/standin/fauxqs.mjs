// Serves fauxqs on loopback only (its own server binds every interface), and
// with two things as SQS has them: a receive hands out as many messages of a
// FIFO group as it may, where fauxqs stops at one, and those that come again
// are in the order in which they were sent.
import { randomUUID } from "node:crypto";
import { pathToFileURL } from "node:url";

const [app, port] = process.argv.slice(2);
const from = (file) => import(new URL(file, pathToFileURL(app)));
const { buildApp } = await from("app.js");
const { SqsQueue } = await from("sqs/sqsStore.js");
const queue = SqsQueue.prototype;

for (const name of ["changeVisibility", "processTimers"]) {
	const original = queue[name];
	queue[name] = function (...args) {
		const hidden = this.inflightMessages.size;
		original.apply(this, args);
		if (!this.isFifo() || this.inflightMessages.size === hidden) return;
		for (const group of this.fifoMessages.values()) {
			group.sort((a, b) => (a.sequenceNumber < b.sequenceNumber ? -1 : 1));
		}
	};
}

const firstOfEach = queue.dequeueFifo;
queue.dequeueFifo = function (max, visibility, ...rest) {
	const got = firstOfEach.call(this, max, visibility, ...rest);
	const groups = new Map(got.map((m) => [this.inflightMessages.get(m.ReceiptHandle).message.messageGroupId, [m]]));
	let left = Math.min(max, 10) - got.length;
	for (const [id, received] of groups) {
		const waiting = this.fifoMessages.get(id) ?? [];
		for (; left > 0 && waiting.length > 0; left--) {
			const message = waiting.shift();
			const { visibilityDeadline } = this.inflightMessages.get(received[0].ReceiptHandle);
			const receiptHandle = randomUUID();
			message.approximateReceiveCount++;
			message.approximateFirstReceiveTimestamp ??= Date.now();
			this.inflightMessages.set(receiptHandle, { message, receiptHandle, visibilityDeadline });
			this.fifoLockedGroups.set(id, this.fifoLockedGroups.get(id) + 1);
			received.push({
				MessageId: message.messageId, ReceiptHandle: receiptHandle, MD5OfBody: message.md5OfBody, Body: message.body,
				...(message.md5OfMessageAttributes ? { MD5OfMessageAttributes: message.md5OfMessageAttributes } : {}),
				...(Object.keys(message.messageAttributes).length > 0 ? { MessageAttributes: message.messageAttributes } : {}),
			});
		}
		if (waiting.length === 0) this.fifoMessages.delete(id);
	}
	return [...groups.values()].flat();
};

await buildApp({ logger: false }).listen({ host: "127.0.0.1", port: Number(port) });
