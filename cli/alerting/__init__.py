"""The alerter: delivers the fleet's spooled alerts through apprise's channels."""
