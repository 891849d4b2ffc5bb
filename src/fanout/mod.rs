//! Who gets what: groups that render an event once, and the mailboxes of their members.
