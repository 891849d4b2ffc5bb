// The peer that shows what GraphQL servers on Node do: graphql-ws over ws, with the publish-subscribe of GraphQL Yoga.
//
// Flow: `POST /events` publishes each event of the list; every subscription filters and is executed and encoded for itself.
// Invariants: fields and filter are those of the subscription that the bench sends to every server.
import { randomUUID } from "node:crypto";
import { setMaxListeners } from "node:events";
import { createServer } from "node:http";
import { createPubSub, filter, pipe } from "@graphql-yoga/subscription";
import {
  GraphQLBoolean,
  GraphQLID,
  GraphQLInputObjectType,
  GraphQLList,
  GraphQLNonNull,
  GraphQLObjectType,
  GraphQLScalarType,
  GraphQLSchema,
  GraphQLString,
} from "graphql";
import { useServer } from "graphql-ws/use/ws";
import { WebSocketServer } from "ws";

// Each subscription is one listener of the same target, which Node takes for a leak.
setMaxListeners(0);
const pubsub = createPubSub();

const required = (type) => ({ type: new GraphQLNonNull(type) });
const Json = new GraphQLScalarType({ name: "JSON" });
const Event = new GraphQLObjectType({
  name: "Event",
  fields: {
    id: required(GraphQLID),
    type: required(GraphQLString),
    time: required(GraphQLString),
    data: { type: Json },
  },
});
const EventFilter = new GraphQLInputObjectType({
  name: "EventFilter",
  fields: { types: { type: new GraphQLList(new GraphQLNonNull(GraphQLString)) } },
});

const schema = new GraphQLSchema({
  query: new GraphQLObjectType({ name: "Query", fields: { ready: { type: GraphQLBoolean } } }),
  subscription: new GraphQLObjectType({
    name: "Subscription",
    fields: {
      events: {
        ...required(Event),
        args: { filter: { type: EventFilter } },
        subscribe: (_root, { filter: wanted }) =>
          pipe(
            pubsub.subscribe("events"),
            filter((event) => wanted?.types?.includes(event.type) ?? true),
          ),
        resolve: (event) => event,
      },
    },
  }),
});

const server = createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    const posted = JSON.parse(Buffer.concat(parts).toString());
    for (const { type, data } of posted) {
      pubsub.publish("events", { id: randomUUID(), type, time: new Date().toISOString(), data });
    }
    const body = JSON.stringify({ accepted: posted.length });
    response.writeHead(200, { "content-type": "application/json", "content-length": body.length });
    response.end(body);
  });
});

// The publisher's connection may rest for longer than the default 5 s.
server.keepAliveTimeout = 0;
useServer({ schema }, new WebSocketServer({ server, path: "/graphql/ws" }));
server.listen(0, "127.0.0.1", () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
