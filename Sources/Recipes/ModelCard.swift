internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierMerging

/// README.md of the output: what it was made of, in the form model hubs read.
enum ModelCard {
  static func text(_ plan: MergePlan) -> String {
    let card = MergeMethods.named(plan.recipe.method)?.card
    let licences = plan.models.map { licence($0.checkpoint.folder) }
    var lines = ["---"]
    // Only what came from the hub's cache has a name there.
    let hubNames = plan.models.filter { $0.checkpoint.location.contains("/models--") }.map(\.reference.path)
    if !hubNames.isEmpty { lines += ["base_model:"] + hubNames.map { "- \($0)" } }
    lines += ["tags:", "- merge", "- espalier"]
    let known = Set(licences.compactMap { $0 })
    if known.count == 1, licences.allSatisfy({ $0 != nil }), let licence = known.first {
      lines.append("license: \(licence)")
    }
    lines += ["---", "", "# \(plan.options.title ?? FileSystem.lastComponent(of: plan.options.output))", ""]
    lines.append(
      "Made by Espalier \(MergeRun.version) from "
        + "\(plan.models.count) model\(plan.models.count == 1 ? "" : "s") with the method `\(plan.recipe.method)`"
        + (card.map { ": \($0.summary)" } ?? "."))
    lines += ["", "| model | family | licence found |", "|---|---|---|"]
    for (model, licence) in zip(plan.models, licences) {
      let base = model.reference.key == plan.recipe.base?.key ? " (base)" : ""
      lines.append("| \(model.reference.key)\(base) | \(model.family ?? "unknown") | \(licence ?? "none") |")
    }
    if !plan.unknownTensors.isEmpty {
      lines += [
        "",
        "Merged like the others, though the family's description does not name them: "
          + "\(MergePlanner.listed(plan.unknownTensors)).",
      ]
    }
    lines += [
      "", "Seed \(plan.options.seed). `espalier verify` checks the files against `espalier-manifest.json`.", "",
      "```yaml", plan.text.hasSuffix("\n") ? String(plan.text.dropLast()) : plan.text, "```", "",
    ]
    return lines.joined(separator: "\n")
  }

  /// The licence in the front matter of a model's README, or that a licence file is there.
  private static func licence(_ folder: String?) -> String? {
    guard let folder else { return nil }
    if let bytes = try? FileSystem.read("\(folder)/README.md", limit: 4 << 20) {
      let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
      if lines.first == "---" {
        for line in lines.dropFirst().prefix(while: { $0 != "---" }) where line.hasPrefix("license:") {
          let name = line.dropFirst("license:".count).filter { !$0.isWhitespace && $0 != "\"" && $0 != "'" }
          if !name.isEmpty { return name }
        }
      }
    }
    let names = (try? FileSystem.list(folder)) ?? []
    return names.first { $0.uppercased().hasPrefix("LICENSE") || $0.uppercased().hasPrefix("LICENCE") }
      .map { "see \($0)" }
  }
}
