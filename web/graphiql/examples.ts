/** The operations that a first visit finds, one a tab. */
import type { GraphiQLProps } from "graphiql";

export const examples: NonNullable<GraphiQLProps["defaultTabs"]> = [
  {
    query: `# Every event from now on. Run it, then publish one
# from a second window, or in a terminal with
# fanfare publish task.created
subscription Live {
  events {
    id
    type
    time
    source
    data
  }
}
`,
  },
  {
    query: `# The answer comes once the event is on stable storage.
# The same source and id again is a duplicate;
# without an id, each event gets a new one.
mutation Publish($event: NewEvent!) {
  publish(event: $event) {
    id
    cursor
    duplicate
  }
}
`,
    variables: JSON.stringify(
      {
        event: {
          type: "task.created",
          source: "graphiql",
          organizationId: "quant",
          taskId: "t-1",
          data: { title: "Try Fanfare" },
        },
      },
      null,
      2,
    ),
  },
  {
    query: `# The last events that match. A subscription with
# start: {after: <endCursor>} continues from there.
query History($filter: EventFilter) {
  events(filter: $filter, last: 20) {
    edges {
      cursor
      node {
        id
        type
        time
        data
      }
    }
    pageInfo {
      hasPreviousPage
      endCursor
    }
  }
}
`,
    variables: JSON.stringify({ filter: { types: ["task.*", "agent.*"] } }, null, 2),
  },
  {
    query: `# The arguments are the filter. The last ten events that
# match come first, then live ones, with no gap between.
subscription Filtered {
  events(
    filter: {
      types: ["*.completed", "*.failed"]
      organizationId: "quant"
      minPriority: NORMAL
    }
    start: { last: 10 }
  ) {
    __typename
    id
    type
    time
    cursor
    data
  }
}
`,
  },
];
