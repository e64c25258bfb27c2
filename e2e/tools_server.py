"""An MCP server for the tests, made with the official SDK."""

from mcp.server import MCPServer

server = MCPServer("weather")


@server.tool()
def forecast(city: str) -> str:
    """The weather forecast of a city."""
    return f"It will be raining cats in {city}."


if __name__ == "__main__":
    server.run("stdio")
