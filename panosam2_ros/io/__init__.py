"""Files and image formats: what is read and written, without ROS."""
