public import EspalierBasics

extension Architecture {
  /// The families described in the user's files, which come first, and the built-in ones.
  ///
  /// - Throws: what is wrong with the first file that is.
  public static func families(with files: [String]) throws(Problems) -> [Architecture] {
    var own: [Architecture] = []
    for file in files {
      let json: JSON
      do throws(Problem) { json = try JSON(parsing: try FileSystem.read(file, limit: 16 << 20)) } catch {
        throw Problems([error.at(file: file)])
      }
      own.append(try load(parsing: json, file: file))
    }
    return own + builtIn()
  }
}
