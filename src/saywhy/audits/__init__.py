"""What has a model learned, over a whole data set? A row a picture, interventions across pictures, findings, a gate."""
