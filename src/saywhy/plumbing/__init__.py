"""What every program needs: files that are whole or absent, caches, hubs, devices, names."""
