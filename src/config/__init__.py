"""The configuration: schema, constraints, validation, and the resolvers of conf/."""
