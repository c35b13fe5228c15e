"""Features that need a W&B server: the team's dashboard, sweeps led by the server, and runs of finished studies."""
