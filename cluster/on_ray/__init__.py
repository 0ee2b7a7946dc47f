"""The launcher on Ray: groups of ranks on Ray Train, pools of actors, and the cluster they run on."""
