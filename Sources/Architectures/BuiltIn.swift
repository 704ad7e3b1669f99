import EspalierBasics

extension Architecture {
  /// The families that come with the package, read once.
  public static func builtIn() -> [Architecture] { families }

  /// The built-in families as text, so that a user can start a description from one.
  public static func builtInSource(named name: String) -> String? {
    sources.first { $0.name == name }.map { String(decoding: $0.bytes, as: UTF8.self) }
  }

  private static let families: [Architecture] = sources.map { source in
    do {
      return try load(parsing: JSON(parsing: source.bytes), file: "Families/\(source.name).json")
    } catch {
      // The text is compiled in and no input of a user; a test loads every built-in family.
      preconditionFailure("the built-in family \(source.name) is malformed: \(error)")
    }
  }
}
