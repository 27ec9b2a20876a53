"""The routes of stored responses and of conversations. Creating a response is in `app.routes.generation`."""
