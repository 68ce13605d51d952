terraform import clusterlink_link.primary from-primary
