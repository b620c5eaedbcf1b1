"""Reading and writing of files and image formats, without ROS."""
