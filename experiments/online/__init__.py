"""What needs a W&B server: the team's dashboard, sweeps that the server leads, and studies told of afterwards."""
